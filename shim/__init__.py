"""The product around the library, for every declared migration."""
