# racy: shutil move
import json
import shutil
from tempfile import NamedTemporaryFile


def add_bookmark(path, title, url):
    with open(path) as f:
        bookmarks = json.load(f)
    bookmarks.append({"title": title, "url": url})
    with NamedTemporaryFile("w", delete=False) as tmp:
        json.dump(bookmarks, tmp)
    shutil.move(tmp.name, path)
