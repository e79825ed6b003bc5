"""What a clip is worth: shots, motion, scores, copies, captions, black bars."""
