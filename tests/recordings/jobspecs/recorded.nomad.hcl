variable "answer" {
  type    = string
  default = "0"
}

job "recorded" {
  type        = "batch"
  datacenters = ["*"]

  meta {
    answer = var.answer
  }

  parameterized {
    payload       = "optional"
    meta_required = ["action_id"]
  }

  group "run" {
    restart {
      attempts = 0
      mode     = "fail"
    }

    reschedule {
      attempts  = 0
      unlimited = false
    }

    ephemeral_disk {
      size = 20
    }

    task "run" {
      driver = "raw_exec"

      config {
        command = "/bin/sh"
        args = ["-c", <<-SCRIPT
          echo to stdout
          echo to stderr >&2
          echo of both
          echo '{"exit_code": 3}' >"$NOMAD_ALLOC_DIR/data/outcome.json"
          exit 3
          SCRIPT
        ]
      }

      resources {
        cpu    = 10
        memory = 10
      }

      logs {
        max_files     = 1
        max_file_size = 1
      }
    }
  }
}
