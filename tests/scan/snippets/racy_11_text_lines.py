# racy: text lines
import re


def set_env(path, key, value):
    with open(path) as f:
        lines = f.readlines()
    lines = [line for line in lines if not re.match(rf"{key}=", line)]
    lines.append(f"{key}={value}\n")
    with open(path, "w") as f:
        f.writelines(lines)
