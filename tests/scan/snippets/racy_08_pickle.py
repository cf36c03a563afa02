# racy: pickle
import pickle


class Index:
    filename = "index.pkl"

    def add(self, word, page):
        with open(self.filename, "rb") as f:
            index = pickle.load(f)
        index.setdefault(word, set()).add(page)
        with open(self.filename, "wb") as f:
            pickle.dump(index, f, protocol=pickle.HIGHEST_PROTOCOL)
