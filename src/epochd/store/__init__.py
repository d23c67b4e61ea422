"""All SQL. Only the server opens the database."""
