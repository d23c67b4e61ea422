"""Pure values that every other room shares: no I/O, no framework, no SQL, no HTTP."""
