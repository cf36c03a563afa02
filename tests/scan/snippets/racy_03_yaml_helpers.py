# racy: yaml helpers
import yaml


def load_settings(path):
    try:
        with open(path, encoding="utf-8") as handle:
            return yaml.safe_load(handle) or {}
    except FileNotFoundError:
        return {}


def save_settings(path, settings):
    with open(path, "w", encoding="utf-8") as handle:
        yaml.safe_dump(settings, handle)


def add_remote(path, name, url):
    settings = load_settings(path)
    settings.setdefault("remotes", {})[name] = url
    save_settings(path, settings)
