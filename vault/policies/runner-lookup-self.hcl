# Held by every run's token, also where the action names no secret. The runner looks itself up
# before the formula starts: that is how it learns that its grant is alive. A run's token can not
# renew itself, so that only the dispatcher decides how long it lives.
path "auth/token/lookup-self" {
  capabilities = ["read"]
}
