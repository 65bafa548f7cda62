"""What things of ours are: facts of runs, models, manifests, transcripts and audio, as plain data."""
