"""What words tell of a text's topic without their order."""

from pipeline.command.setting import Positive
from pipeline.exhibits.exhibit import Measure
from pipeline.probes.probe import Probe


class TfIdf(Probe):
    """`linear`: the share of right topics by logistic regression on how often each word occurs in a text, times the
    logarithm of how rare texts with it are (scikit-learn's TfidfVectorizer and LogisticRegression): fitted to the
    texts that the model learned from, as it reads them, and judged on the same part. It does not depend on the model.

    inverse_regularization  C of LogisticRegression
    """

    measures = {"linear": Measure(digits=".1%", better="high", title="TF-IDF + logistic regression")}

    def __init__(self, inverse_regularization: Positive):
        self.inverse_regularization = inverse_regularization

    def fits(self, network, data) -> bool:
        return hasattr(data, "texts")

    def measure(self, network, data, seed: int) -> dict:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        linear = make_pipeline(
            TfidfVectorizer(token_pattern=r"\S+"),
            LogisticRegression(C=self.inverse_regularization, max_iter=1000),
        )
        linear.fit(*zip(*data.texts("train")))
        return {"linear": float(linear.score(*zip(*data.texts(data.judged_on))))}
