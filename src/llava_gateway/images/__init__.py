"""Images: one ingest for every door. `store.py` is the way in; decoding runs in the processes of `worker.py`."""
