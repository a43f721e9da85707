//! What every implementation of [`PlanLimits`] must do, as one function of assertions.
