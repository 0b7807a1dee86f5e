"""What setup.cfg cannot say: with EDGECACHE_COMPILE=1 the modules under ``[compiled]`` there are compiled, by mypyc.

Who builds in an environment of its own, as pip does, asks first what that has to have, and is told: the compiler, which
comes with mypy, and the libraries whose types it reads. Without the variable nothing is asked for, and the wheel is one
for every platform.
"""

import configparser
import importlib.util
import os
import sys

from setuptools import setup

COMPILER = "mypy >=2.4"

settings = configparser.ConfigParser()
settings.read("setup.cfg", "utf-8")

if os.environ.get("EDGECACHE_COMPILE") != "1":
    setup()
elif importlib.util.find_spec("mypyc") is None:
    setup(setup_requires=[COMPILER, *settings["options"]["install_requires"].split("\n")[1:]])
    sys.exit(f"EDGECACHE_COMPILE=1 takes {COMPILER}")  # who only asked has got the answer by now, and is gone
else:
    from mypyc.build import mypycify

    paths = [path for group in settings["compiled"].values() for path in group.split()]
    setup(ext_modules=mypycify(paths, group_name="edgecache.compiled"))
