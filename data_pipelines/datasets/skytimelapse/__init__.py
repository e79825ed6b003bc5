"""SkyTimelapse: README.md says what it is and how it lies on disk."""
