"""The child process that trains one job at a time. It communicates with the server over HTTP only."""
