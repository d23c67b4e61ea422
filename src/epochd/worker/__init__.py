"""The child process that trains one job at a time. It knows the server by HTTP only."""
