"""HTTP and files beside an event loop: one pool of connections, bodies read from files, bounded answers."""
