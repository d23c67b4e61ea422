"""Networks and the engines that train them, each on one framework; all implement ``loop.engine.Engine``."""
