# racy: configparser
import configparser
import os

RC = os.path.expanduser("~/.depot.ini")


def save_login(host, user):
    parser = configparser.ConfigParser()
    parser.read(RC)
    if not parser.has_section(host):
        parser.add_section(host)
    parser.set(host, "user", user)
    with open(RC, "w") as f:
        parser.write(f)
