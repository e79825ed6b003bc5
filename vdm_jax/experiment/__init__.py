"""The composer: the index of names, an experiment, and the objects of a run. Only this room knows all others."""
