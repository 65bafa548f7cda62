"""From recordings as they come to separated speakers and their words."""

import os

# On a processor PyTorch keeps prepared operations (oneDNN's) for every size of input it has met, up to 1024 of them:
# most of a gigabyte, which grows while segments of all lengths are recognised. Read before the first operation.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16")
