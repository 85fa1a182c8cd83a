"""Images: every image enters through `store.py`, whichever API it comes from; decoding runs in the processes of `worker.py`."""
