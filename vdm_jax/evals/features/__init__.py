"""Networks that turn videos into features, which distances between sets of videos are computed from."""
