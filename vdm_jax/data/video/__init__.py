"""Video files: what they hold, and exactly the frames asked for."""
