"""The epoch loop, independent of framework, SQL and HTTP."""
