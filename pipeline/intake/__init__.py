"""Intake: what sources say becomes canonical records, without what names a person."""
