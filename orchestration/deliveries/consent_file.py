"""The form in which the study's administration says what clients consented to: one row per client and consent."""

COLUMNS = ("national_number", "consent", "given_on", "withdrawn_on", "earlier_data")
KEPT, ENDED = "kept", "ended"  # `earlier_data`: whether what was collected until a withdrawal stays in use
