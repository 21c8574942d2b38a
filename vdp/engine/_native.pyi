"""The cffi module of engine.h: `ffi` makes and reads C data, `lib` has the functions."""

from typing import Any

ffi: Any
lib: Any
