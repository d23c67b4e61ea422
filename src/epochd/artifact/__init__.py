"""What a training leaves on disk: checkpoints while it runs, a model when it is done."""
