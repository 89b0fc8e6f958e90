"""The numbered menu on the serial line and the screen, instead of a login. All it does goes through control sockets."""
