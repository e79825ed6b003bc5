"""What a build is to work on: listed, read row by row, and looked up again."""
