# safe: storewriter
from storewriter import Store


def set_option(path, key, value):
    Store(path).update(lambda state: state.__setitem__(key, value))
