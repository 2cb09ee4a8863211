"""What logistic regression and gradient boosting reach on the tables of examples/configs: mean ROC-AUC over five stratified folds.

Usage: tables.py FILE.csv TARGET [--ignore COLUMN,...] [--categories COLUMN,...]      needs scikit-learn and pandas
"""
import argparse

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, f1_score, log_loss, roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("file")
    args.add_argument("target")
    args.add_argument("--ignore", default="")
    args.add_argument("--categories", default="")
    args = args.parse_args()
    listed = lambda text: [name for name in text.split(",") if name]
    table = pd.read_csv(args.file, na_values=[" "], skipinitialspace=True).drop(columns=listed(args.ignore))
    y = pd.factorize(table.pop(args.target).astype(str), sort=True)[0]
    texts = [c for c in table if table[c].dtype.kind not in "fiu" or c in listed(args.categories)]
    numbers = [c for c in table if c not in texts]
    table[texts] = table[texts].astype(str)
    table[numbers] = table[numbers].fillna(table[numbers].mean())
    ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    models = {
        "logistic regression": lambda: make_pipeline(
            ColumnTransformer([("n", StandardScaler(), numbers), ("c", OneHotEncoder(handle_unknown="ignore"), texts)]),
            LogisticRegression(max_iter=2000)),
        "gradient boosting": lambda: make_pipeline(
            ColumnTransformer([("n", "passthrough", numbers), ("c", ordinal, texts)]),
            HistGradientBoostingClassifier(learning_rate=0.05, max_iter=150, max_leaf_nodes=15, random_state=0)),
    }
    for name, make in models.items():
        rows = []
        for learned, kept in StratifiedKFold(5, shuffle=True, random_state=1).split(table, y):
            p = make().fit(table.iloc[learned], y[learned]).predict_proba(table.iloc[kept])[:, 1]
            rows.append([roc_auc_score(y[kept], p), f1_score(y[kept], p > 0.5), log_loss(y[kept], p), brier_score_loss(y[kept], p)])
        auc, f1, loss, brier = np.mean(rows, axis=0)
        spread = np.std([r[0] for r in rows])
        print(f"{name}: ROC-AUC {auc:.4f} (+- {spread:.4f} between folds), F1 {f1:.3f}, log loss {loss:.4f}, Brier {brier:.4f}")


if __name__ == "__main__":
    main()
