// One binary with the servers of the oldest supported Kubernetes, for the tests that check that rbgctl works there.
//
// The first argument, or the name it is called by, picks the component: etcd, kube-apiserver or kubectl.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	_ "time/tzdata" // CronJob and friends know time zones without a system database

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func run(name string) int {
	switch name {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		return cli.Run(apiserver.NewAPIServerCommand())
	case "kubectl":
		// The server's packages registered their flags on the process-wide set, where they would shadow kubectl's.
		pflag.CommandLine = pflag.NewFlagSet(name, pflag.ExitOnError)
		if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
			util.CheckErr(err)
		}
	default:
		fmt.Fprintf(os.Stderr, "usage: %s COMPONENT [flags]\ncomponents: etcd, kube-apiserver, kubectl\n",
			filepath.Base(os.Args[0]))
		return 2
	}
	return 0
}

func main() {
	name := filepath.Base(os.Args[0])
	if name == "controlplane" && len(os.Args) > 1 {
		name = os.Args[1]
		os.Args = os.Args[1:]
	}
	os.Exit(run(name))
}
