"""Choose clips: detect shots, measure motion and other scores, find duplicates and black bars."""
