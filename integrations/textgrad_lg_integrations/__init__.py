"""textgrad_lg and other people's services: one module each, none imports another."""
