"""Health of backends: state machine, availability, outliers, ejection, panic. Pure."""
