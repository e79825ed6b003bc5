"""Video files: what they hold, and exactly the frames that are read.

decode.py          what others call: probe, read, stream
files.py           which files of a folder are videos
extract_clip.py    from a whole video to one clip of it; transforms.py: resize, crop, flip
probe.py           a file -> its index: from its packets where these suffice, else by decoding it once
  container.py     opening, and which stream; completeness.py: is it all there; cropping.py: is all of it shown
  packet_scan.py   what packets prove (headers/: a codec a file); decode_scan.py: what decoding shows
  index.py         frames, times and keys; store.py: kept on disk; timestamps.py: timestamps that need mending
seek.py            some frames of a file, decoded from the key before them
picture.py         a decoded frame -> RGB as it is shown; deinterlace.py; animation.py: GIF, WebP, APNG
frame_cache.py     frames kept in memory; probe_cache.py: indexes of videos that are bytes
"""
