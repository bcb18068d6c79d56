"""Run while the image is built: `node_python.py SCRIPT DESTINATION`.

Docker gives capabilities to root only; another user has them by those of the file that is executed (capabilities(7)).
So a copy of the Python interpreter, beside the original because it finds its library from there, gets NET_ADMIN and
NET_RAW as a file attribute; a container that was started without them cannot execute it. The script is installed with
that interpreter in its first line.
"""

import os
import shutil
import struct
import sys
from pathlib import Path

NET_ADMIN, NET_RAW = 12, 13
VERSION_2, EFFECTIVE = 0x0200_0000, 0x1

assert sys.version_info >= (3, 11), f"Python {sys.version}: 3.11 or newer is needed"
source, destination = map(Path, sys.argv[1:])
original = Path(os.path.realpath(sys.executable))
interpreter = original.with_name("layerlab-python")
shutil.copy(original, interpreter)
permitted = 1 << NET_ADMIN | 1 << NET_RAW
os.setxattr(interpreter, "security.capability", struct.pack("<5I", VERSION_2 | EFFECTIVE, permitted, 0, 0, 0))
destination.write_text(f"#!{interpreter}\n{source.read_text(encoding='utf-8')}", encoding="utf-8")
destination.chmod(0o755)
