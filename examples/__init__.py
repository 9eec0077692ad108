"""Examples: each is a small application that textgrad_lg works on."""
