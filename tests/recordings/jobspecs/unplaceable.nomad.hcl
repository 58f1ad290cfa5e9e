job "unplaceable" {
  type        = "batch"
  datacenters = ["*"]

  parameterized {
    payload = "optional"
  }

  group "run" {
    volume "nowhere" {
      type   = "host"
      source = "nowhere"
    }

    task "run" {
      driver = "raw_exec"

      config {
        command = "/bin/true"
      }
    }
  }
}
