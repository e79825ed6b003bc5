"""From weights and conditions to videos."""
