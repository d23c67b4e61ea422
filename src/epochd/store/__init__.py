"""All SQL. The server is the only process that opens the database, and it writes through one connection."""
