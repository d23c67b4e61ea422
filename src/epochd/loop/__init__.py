"""The only epoch loop. It knows no framework, no SQL and no HTTP."""
