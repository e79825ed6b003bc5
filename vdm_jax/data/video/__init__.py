"""Video files: what they hold, and exactly the frames asked for.

decode.py          what others call: probe, read, stream
files.py           which files of a folder are videos
probe.py           a file -> its index: of its packets where these suffice, else by decoding it once
  container.py     opening, and which stream; complete.py: is it all there; cropping.py: is all of it shown
  from_packets.py  what packets prove (headers/: a codec a file); from_decoding.py: what decoding shows
  index.py         frames, times and keys; store.py: kept on disk; times.py: timestamps that need mending
reading.py         some frames of a file, decoded from the key before them
picture.py         a decoded frame -> RGB as it is shown; deinterlace.py; animation.py: GIF, WebP, APNG
"""
