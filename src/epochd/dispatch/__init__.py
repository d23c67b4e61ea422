"""The dispatcher of the queue, and the executors that run its jobs."""
