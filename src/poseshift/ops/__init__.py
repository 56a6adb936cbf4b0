"""Pure tensor functions: no state, no I/O."""
