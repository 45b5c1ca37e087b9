"""Flags as make hands them over: `QUICK=1` is on, `QUICK=`, `QUICK=0` and `QUICK=no` are off."""


def is_on(text: str) -> bool:
    return text.lower() not in {"", "0", "false", "no", "off"}
