"""The routes about the server itself: health, the comparison of tasks with processes, and the reports of workers."""
