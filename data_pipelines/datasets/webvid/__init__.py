"""Sets of captions in a table, WebVid's kind: README.md says what it is and how it lies on disk."""
