"""The product around the library, for every declared migration."""

from shim.application import Application, Extension, Section

__all__ = ["Application", "Extension", "Section"]
