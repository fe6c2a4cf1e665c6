"""The benchmark: one fixed workload on any target, beside baselines and the field.

``workload`` says what is run, ``runner`` runs it, ``figures`` and ``system`` turn it into figures,
``document`` puts them into the object that ``schema.json`` describes, ``terminal`` and ``page``
show it. ``docs/report.md`` explains every figure.
"""
