"""Who runs where: the queue's loop and the places that run its jobs."""
