"""The only rooms that import a framework. Each engine fulfils ``loop.engine.Engine``."""
